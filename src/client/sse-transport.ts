import { createParser, type EventSourceMessage } from 'eventsource-parser';
import { answerError, MillraceClientError, type WireError } from './client-error.ts';
import {
  type HttpOptions,
  headersWithin,
  messageOf,
  passingStatuses,
  retryAfterOf,
  type WireRequest,
  wireBody,
} from './http-request.ts';
import { onceEnded, type Transport, type TransportSink, type WireMessage } from './transport.ts';

/**
 * Subscriptions as Server-Sent Events over `fetch`, a request each ("distinct connections" of graphql-sse). A stream that
 * says nothing for `silenceMs` (the gateway says something every 12 s) counts as lost, and so does one that just ends.
 */
export function sseTransport(http: HttpOptions, silenceMs: number): Transport {
  return {
    name: 'sse',
    open(request, sink) {
      const controller = new AbortController();
      const once = onceEnded(sink);
      void carry(http, request, once, controller, silenceMs).catch((error: unknown) => {
        once.failed(error instanceof MillraceClientError ? error : lost(http.url, messageOf(error), error));
      });
      return () => {
        once.end();
        controller.abort();
      };
    },
  };
}

async function carry(
  http: HttpOptions,
  request: WireRequest,
  sink: TransportSink,
  controller: AbortController,
  silenceMs: number,
): Promise<void> {
  const end = silence(silenceMs, () => {
    sink.failed(lost(http.url, `nothing came for ${silenceMs} ms`));
    controller.abort();
  });
  try {
    const body = wireBody(request);
    const headers = await headersWithin(http, controller.signal);
    const send = http.fetch;
    const response = await send(http.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'text/event-stream', ...headers },
      body,
      signal: controller.signal,
    });
    const isStream = response.headers.get('content-type')?.startsWith('text/event-stream') === true;
    if (!response.ok || !isStream || response.body === null) throw await refusal(http.url, response);
    sink.opened();
    const parser = createParser({ onEvent: (event) => take(event, sink) });
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      end.again();
      parser.feed(decoder.decode(value, { stream: true }));
    }
    sink.failed(lost(http.url, 'the stream ended'));
  } finally {
    end.stop();
    controller.abort();
  }
}

function take({ event, data }: EventSourceMessage, sink: TransportSink): void {
  if (event === 'complete') sink.completed();
  else if (event === 'next') {
    const message: unknown = JSON.parse(data);
    if (typeof message === 'object' && message !== null) sink.next(message as WireMessage);
  }
}

async function refusal(url: string, response: Response): Promise<MillraceClientError> {
  const passing = passingStatuses.has(response.status);
  const retryAfterMs = retryAfterOf(response);
  const answer: unknown = await response.json().catch(() => undefined);
  if (typeof answer === 'object' && answer !== null && 'errors' in answer && Array.isArray(answer.errors)) {
    return answerError(answer.errors as readonly WireError[], { passing, retryAfterMs });
  }
  const message = `${url} answered ${response.status} and no event stream.`;
  return new MillraceClientError('BAD_ANSWER', message, {
    retryable: passing || response.status === 500,
    retryAfterMs,
  });
}

function silence(ms: number, onSilent: () => void): { again(): void; stop(): void } {
  let timer = setTimeout(onSilent, ms);
  const stop = (): void => clearTimeout(timer);
  return {
    again() {
      stop();
      timer = setTimeout(onSilent, ms);
    },
    stop,
  };
}

const lost = (url: string, why: string, cause?: unknown): MillraceClientError =>
  new MillraceClientError('NETWORK', `The event stream of ${url} is lost: ${why}.`, { retryable: true, cause });
