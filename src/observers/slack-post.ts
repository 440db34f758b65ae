import { postOnce, whyNoAnswer } from './http-post.ts';

/** Sends a message to an incoming webhook of Slack or of what takes the same. Rejects unless it was taken; the URL is a secret and never told. */
export async function slackPost(url: string, text: string, signal: AbortSignal): Promise<void> {
  const body = JSON.stringify({ text });
  const headers = { 'content-type': 'application/json' };
  const answer = await postOnce({ url, body, headers, signal }).catch((error: unknown) => {
    throw new Error(`${new URL(url).origin} gave no answer: ${whyNoAnswer(error)}`);
  });
  if (answer.status < 200 || answer.status > 299) {
    throw new Error(`${new URL(url).origin} answered ${answer.status}: ${answer.text.slice(0, 100)}`);
  }
}
