import { createContext, createElement, type ReactElement, type ReactNode, useContext } from 'react';
import type { MillraceClient } from '../client/index.ts';

const Context = createContext<MillraceClient | undefined>(undefined);

/** Gives `client` to the hooks below it. The client belongs to who made it: it is not closed here. */
export function MillraceProvider(props: {
  readonly client: MillraceClient;
  readonly children?: ReactNode;
}): ReactElement {
  return createElement(Context.Provider, { value: props.client }, props.children);
}

export function useClient(): MillraceClient {
  const client = useContext(Context);
  if (client === undefined) {
    throw new Error(
      'There is no MillraceProvider above this component: wrap the page in <MillraceProvider client={…}>.',
    );
  }
  return client;
}
