import { profiled, withFamily } from '../lib/family.ts';
import { MILLRACE_SERVER, RESUME_DRIVER } from '../lib/files.ts';
import { ACCOUNT_COUNT, type Bench } from '../lib/options.ts';
import type { Group } from '../lib/report.ts';
import { type Contender, interleave } from '../lib/rounds.ts';
import type { Resume, ResumeFigures, Watched } from '../load/resume-driver.ts';

const MILLRACE = 'Millrace';
const RAW = 'raw cursor';
const MISSED_COUNT = 10_000;
/** They are deposits: so fast they are sent. */
const PER_SECOND = 2_000;

/** One subscriber comes back over graphql-ws after 10,000 events that it missed, from where it asks until CAUGHT_UP. */
export function resume(bench: Bench): Promise<Group[]> {
  return withFamily(bench, async (family) => {
    const worker = await family.start(MILLRACE_SERVER, 'resume', { env: { ROLE: 'worker' } });
    const gateway = await family.start(MILLRACE_SERVER, 'resume', { env: { ROLE: 'gateway' }, nodeArgs: profiled });
    const driver = await family.start(RESUME_DRIVER, 'resume');
    await worker.call('prepare', { shown: true });
    const url = await gateway.call<string>('url');
    const play = (what: Omit<Resume, 'url'>) => driver.call<ResumeFigures>('resume', { url, ...what });
    const begun = await play({ watched: 'LIST' });
    const after = await play({ watched: 'EVENTS' });
    const missed = {
      perSecond: PER_SECOND,
      durationMs: (MISSED_COUNT / PER_SECOND) * 1_000,
      accountCount: ACCOUNT_COUNT,
    };
    const sent = await worker.call<number>('changes', { ...missed, cursorLength: 0 });
    await worker.call('settle');
    const group = async (title: string, watched: Watched, cursor: string, expected: number): Promise<Group> => {
      bench.say(title);
      const contenders: Contender[] = [
        {
          name: RAW,
          baseline: true,
          round: async () => ({ value: await driver.call('read', { watched, count: expected }) }),
        },
        {
          name: MILLRACE,
          baseline: false,
          async round() {
            const { messageCount, perSecond } = await play({ watched, after: cursor });
            if (messageCount < expected) throw new Error(`${messageCount} messages came, not ${expected}`);
            return { value: perSecond };
          },
        },
      ];
      const lines = await interleave(contenders, bench.options.roundCount, bench.say);
      const targets = [{ subject: MILLRACE, against: RAW, figure: 'value' as const, atLeast: 0.5 }];
      return { title, unit: 'messages/s', lines, targets };
    };
    const count = MISSED_COUNT.toLocaleString('en-US');
    return [
      await group(`Resume of the log: ${count} events that were missed`, 'EVENTS', after.cursor, sent),
      await group(
        `Resume of a list: ${ACCOUNT_COUNT.toLocaleString('en-US')} documents that ${count} events changed`,
        'LIST',
        begun.cursor,
        ACCOUNT_COUNT,
      ),
    ];
  });
}
