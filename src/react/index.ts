'use client';
/** `millrace/react`: a view as state, a command as a function, and what the command will do shown at once. */
export { MillraceProvider, useClient } from './provider.ts';
export { type CommandState, type UseCommandOptions, useCommand } from './use-command.ts';
export { useView, type View } from './use-view.ts';
