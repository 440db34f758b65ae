/** CPU time that this process has used, in ms: what tells work without bound from other people's load. */
export function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}
