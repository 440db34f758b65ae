import { MillraceError } from './errors.ts';

/**
 * Places in the code where a process may die, by name, with the part of Millrace that passes them. Tests kill a process at
 * each of them (`MILLRACE_CRASH=after-append#3`: at the third passing) and look whether anything is lost or done twice.
 * Unarmed, as always in production, a passing costs one comparison.
 */
export const crashPoints = {
  /** A batch of commits is about to be inserted. */
  'before-append': 'gateway',
  /** MongoDB has acknowledged the insert (or refused it, or is silent); nobody was told yet. */
  'after-append': 'gateway',
  /** The outcome of a command is known; its sender was not told yet. */
  'before-reply': 'gateway',
  /** A batch of events has its positions and is about to go into the log. */
  'before-place': 'sequencer',
  /** The batch is in the log; no consumer was woken yet. */
  'after-place': 'sequencer',
  /** Handlers ran; the transaction that writes what they made is about to begin. */
  'before-transaction': 'delivery',
  /** Effects and checkpoints are in the open transaction. */
  'before-commit': 'delivery',
  /** The transaction is committed; nobody was told yet. */
  'after-commit': 'delivery',
  /** A command of a service is claimed; its handler is about to run. */
  'before-service': 'delivery',
  /** The handler of a service ended; what it answered is not stored yet. */
  'after-service': 'delivery',
  /** Commands to be carried out later are stored; their senders were not told yet. */
  'after-receive': 'gateway',
  /** A queued command was carried out; its record does not say so yet. */
  'before-settle': 'delivery',
  /** Something is due: a timer, a schedule, a delayed command. */
  'before-fire': 'delivery',
  /** What was due was told to whom it concerns. */
  'after-fire': 'delivery',
  /** A retry, a timer or a refusal was handled for a partition; its transaction is about to begin. */
  'before-errand': 'delivery',
} as const satisfies Record<string, 'gateway' | 'sequencer' | 'delivery'>;

export type CrashPoint = keyof typeof crashPoints;

/** What happens at which passing of which point. */
export interface ArmedCrash {
  readonly point: CrashPoint;
  /** Counted from 1. */
  readonly passing: number;
  /** SIGKILL ends the process; SIGSTOP lets it stand still until SIGCONT, as a long pause would. */
  readonly signal: 'SIGKILL' | 'SIGSTOP';
}

/** Reads `name`, `name#3` or `name#3:SIGSTOP`. Throws SETTINGS_INVALID. */
export function parseCrash(text: string): ArmedCrash {
  const [, name, passing = '1', signal = 'SIGKILL'] = /^([a-z-]+)(?:#(\d{1,9}))?(?::(\w+))?$/.exec(text) ?? [];
  const known = name !== undefined && isCrashPoint(name) ? name : undefined;
  if (known === undefined || Number(passing) < 1 || (signal !== 'SIGKILL' && signal !== 'SIGSTOP')) {
    throw new MillraceError(
      'SETTINGS_INVALID',
      `MILLRACE_CRASH is "${text}". Write NAME, NAME#3 for the third passing, or NAME#3:SIGSTOP, with one of: ${Object.keys(crashPoints).join(', ')}.`,
    );
  }
  return { point: known, passing: Number(passing), signal };
}

const isCrashPoint = (name: string): name is CrashPoint => Object.hasOwn(crashPoints, name);

let armed: { readonly crash: ArmedCrash; passed: number } | undefined;

/** From now on for the whole process; undefined disarms. */
export function armCrash(crash: ArmedCrash | undefined): void {
  armed = crash === undefined ? undefined : { crash, passed: 0 };
}

/** Marks the place. Does nothing unless this very point was armed. */
export function crashPoint(name: CrashPoint): void {
  if (armed === undefined || armed.crash.point !== name) return;
  armed.passed++;
  if (armed.passed === armed.crash.passing) process.kill(process.pid, armed.crash.signal);
}
