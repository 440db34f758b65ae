import { renderGraphiQL as fromCdn, type GraphiQLOptions } from 'graphql-yoga';

/** The page with everything in it (9 MB): an optional peer, so that production need not install it. */
const PACKAGE = '@graphql-yoga/render-graphiql';

/**
 * The page of GraphiQL for development, made when it is first asked for. From the package where it is installed: then it
 * refers to no other host and works in closed networks; else Yoga's small page, which loads its script from a CDN.
 */
export function graphiqlPage(): (options: GraphiQLOptions) => Promise<string> {
  let page: Promise<string> | undefined;
  return (options) => {
    page ??= renderer().then((render) => render(options));
    return page;
  };
}

async function renderer(): Promise<(options: GraphiQLOptions) => string> {
  try {
    return (await import('@graphql-yoga/render-graphiql')).renderGraphiQL;
  } catch (error) {
    if (isNotInstalled(error)) return fromCdn;
    throw error;
  }
}

function isNotInstalled(error: unknown): boolean {
  return (
    error instanceof Error &&
    'code' in error &&
    error.code === 'ERR_MODULE_NOT_FOUND' &&
    error.message.includes(PACKAGE)
  );
}
