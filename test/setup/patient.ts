/** Settings of apps that a test starts: what they wait for they wait for as long as `until` does. A slow machine is no answer. */
export const patient = { AT_LEAST_TIMEOUT_MS: '60000', COMMAND_TIMEOUT_MS: '60000' } as const;
