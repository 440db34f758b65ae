/** Settings that all processes of a fault run with. */
export type ProfileName = 'fast' | 'production';

export interface Profile {
  readonly name: ProfileName;
  readonly env: Readonly<Record<string, string>>;
  /** Of a replica set of three, where a fault has one. */
  readonly electionTimeoutMs: number;
}

/** Fast settings make many rounds possible; those of production, the defaults, hide less. */
export const profiles: Readonly<Record<ProfileName, Profile>> = {
  fast: {
    name: 'fast',
    env: { JOB_LOCK_MS: '1000', JOB_STALLED_CHECK_MS: '500', SWEEP_INTERVAL_MS: '250' },
    electionTimeoutMs: 3_000,
  },
  production: { name: 'production', env: {}, electionTimeoutMs: 10_000 },
};
