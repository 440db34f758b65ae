/** Numbers that look random and are the same for the same seed. */
export interface Random {
  readonly seed: number;
  /** In [0, 1). */
  next(): number;
  /** A whole number in [0, below). */
  below(below: number): number;
  pick<Value>(from: readonly Value[]): Value;
  shuffled<Value>(values: readonly Value[]): Value[];
}

/** mulberry32: 32 bits of state are enough to choose victims and moments. */
export function seeded(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
  const below = (limit: number): number => Math.floor(next() * limit);
  return {
    seed,
    next,
    below,
    pick(from) {
      const value = from[below(from.length)];
      if (value === undefined) throw new Error('nothing to pick from');
      return value;
    },
    shuffled(values) {
      const left = [...values];
      return values.map(() => left.splice(below(left.length), 1)[0]!);
    },
  };
}
