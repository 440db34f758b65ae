import type { Line, Sample } from './report.ts';

export interface Contender {
  readonly name: string;
  readonly baseline: boolean;
  round(): Promise<Sample>;
}

/** Rounds A B C, A B C, …: what disturbs the machine for a while disturbs all of them. */
export async function interleave(
  contenders: readonly Contender[],
  roundCount: number,
  say: (text: string) => void,
): Promise<Line[]> {
  const samples = contenders.map(() => [] as Sample[]);
  for (let round = 0; round < roundCount; round++) {
    for (const [i, contender] of contenders.entries()) {
      const sample = await contender.round();
      samples[i]?.push(sample);
      say(`  ${contender.name}: ${Math.round(sample.value).toLocaleString('en-US')}`);
    }
  }
  return contenders.map(({ name, baseline }, i) => ({ name, baseline, samples: samples[i] ?? [] }));
}
