import type { AnyRecorded } from '../define/event.ts';

/** CloudEvents 1.0, structured JSON: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md */
export const CLOUD_EVENT_CONTENT_TYPE = 'application/cloudevents+json; charset=utf-8';

/** An event of the log as others read it. `source` and `id` together name it for ever. */
export interface CloudEventMessage {
  readonly specversion: '1.0';
  /** Id of the event. */
  readonly id: string;
  /** A URI reference; default `/<tenant>/<aggregate>`. */
  readonly source: string;
  readonly type: string;
  /** Id of the aggregate's instance. */
  readonly subject: string;
  /** RFC 3339 */
  readonly time: string;
  readonly datacontenttype: 'application/json';
  readonly data: unknown;
  /** Extensions: lower-case letters and digits only, as the specification has it. */
  readonly schemaversion: number;
  readonly streamversion: number;
  /** Position in the log, as text that sorts like the number (the specification's extension `sequence`). */
  readonly sequence: string;
  readonly correlationid: string;
  readonly causationid: string;
  readonly traceparent?: string;
}

const SEQUENCE_DIGITS = 16;

export function cloudEvent(
  event: AnyRecorded,
  of: { readonly source?: string | undefined; readonly data: unknown },
): CloudEventMessage {
  const { id, type, stream, at, meta, schemaVersion, position, commandId } = event;
  return {
    specversion: '1.0',
    id,
    source: of.source ?? `/${encodeURIComponent(stream.tenant)}/${encodeURIComponent(stream.aggregate)}`,
    type,
    subject: stream.id,
    time: at.toISOString(),
    datacontenttype: 'application/json',
    data: of.data,
    schemaversion: schemaVersion,
    streamversion: stream.version,
    sequence: String(position).padStart(SEQUENCE_DIGITS, '0'),
    correlationid: meta.correlationId,
    causationid: commandId,
    ...(meta.traceparent === null ? {} : { traceparent: meta.traceparent }),
  };
}
