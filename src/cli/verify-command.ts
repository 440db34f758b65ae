import { type VerifyReport, verifyLog } from '../engine/log/verify.ts';
import { readSettings } from '../settings.ts';
import { connect } from '../store/connect.ts';
import { createDeliveryStore } from '../store/delivery-store.ts';

/** `millrace verify`: compares all commits with the log; 0 when they agree, 1 when they do not. Reads only. */
export async function verify(options: { readonly json?: boolean | undefined }): Promise<number> {
  // Redis holds nothing to compare; its address is not asked for.
  const settings = readSettings({ ...process.env, REDIS_URL: process.env.REDIS_URL || 'redis://127.0.0.1' });
  const { client, db } = await connect({ ...settings.mongodb, appName: 'millrace-verify' });
  try {
    const store = createDeliveryStore(client, db, settings.logId);
    const terminal = process.stderr.isTTY === true;
    const report = await verifyLog(store, {
      onProgress: (eventCount) => {
        if (terminal) process.stderr.write(`\r${count(eventCount)} events compared`);
      },
    });
    if (terminal) process.stderr.write('\r\u001b[K');
    process.stdout.write(options.json === true ? `${JSON.stringify(report, null, 2)}\n` : table(report));
    return report.ok ? 0 : 1;
  } finally {
    await client.close();
  }
}

const count = (value: number): string => value.toLocaleString('en-US');

const explanations = {
  missing: 'in a commit, not in the log',
  extra: 'in the log, in no commit',
  order: 'placed before its predecessor',
  other: "in the log under another event's id",
  gap: 'first position without an event',
} as const;

function table(report: VerifyReport): string {
  const kinds = Object.entries(report.counts).map(
    ([kind, found]) =>
      `  ${kind.padEnd(10)}${count(found).padStart(12)}   ${explanations[kind as keyof typeof explanations]}`,
  );
  const lines = [
    `  commits   ${count(report.commitCount).padStart(12)}`,
    `  events    ${count(report.eventCount).padStart(12)}`,
    `  log end   ${count(report.end).padStart(12)}`,
    ...kinds,
    ...(report.uncounted > 0
      ? [`  further   ${count(report.uncounted).padStart(12)}   differences that were not sorted`]
      : []),
    '',
    report.ok ? 'The log holds every event of every commit, once and in order.' : 'The log differs from the commits:',
    ...report.differences.map(
      ({ kind, stream, version, position }) =>
        `  ${kind.padEnd(10)}${JSON.stringify(stream)} version ${version}${position === null ? '' : ` at position ${position}`}`,
    ),
  ];
  return `${lines.join('\n')}\n`;
}
