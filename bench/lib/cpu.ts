import { readFileSync } from 'node:fs';

/** CPU time (user and system) of the database servers since they started, by name; only where Linux tells. */
export function serversCpuMs(): Readonly<Record<string, number>> {
  const { MONGODB_PID, REDIS_PID } = process.env;
  const found = Object.entries({ MongoDB: MONGODB_PID, Redis: REDIS_PID }).flatMap(([name, pid]) => {
    const ms = pid === undefined ? undefined : cpuMsOf(pid);
    return ms === undefined ? [] : [[name, ms] as const];
  });
  return Object.fromEntries(found);
}

/** Linux counts in hundredths of a second for every program, whatever the kernel's own clock. */
const MS_PER_TICK = 10;

function cpuMsOf(pid: string): number | undefined {
  try {
    // Fields 14 and 15; the second one, a name in parentheses, may hold spaces.
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    return (Number(fields[11]) + Number(fields[12])) * MS_PER_TICK;
  } catch {
    return undefined;
  }
}
