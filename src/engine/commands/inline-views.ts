import type { Model, ProjectorModel } from '../../define/model.ts';
import type { Logger } from '../../logger.ts';
import type { CommandAccepted, Runtime } from '../contract/runtime.ts';

type Handle = Runtime['handle'];

/**
 * Makes the answer of a command wait for the inline views that take from its events: all at once, with one deadline. The commit is
 * there before and stays, whatever the views do; those that do not show it are named in `behind`. Without inline views it is `handle`
 * itself; a command that concerns none waits for nothing.
 */
export function awaitInlineViews(deps: {
  readonly model: Model;
  readonly handle: Handle;
  /** Whether a view comes to show what a token's command caused, by a time (epoch). */
  readonly shows: (view: string, token: string, deadlineMs: number) => Promise<boolean>;
  readonly timeoutMs: number;
  readonly logger: Logger;
}): Handle {
  const { handle, shows, timeoutMs, logger } = deps;
  const viewsOf = inlineViewsOf(deps.model);
  if (viewsOf.size === 0) return handle;
  const lacks = async (view: string, { token, commandId }: CommandAccepted, deadlineMs: number): Promise<string[]> => {
    try {
      return (await shows(view, token, deadlineMs)) ? [] : [view];
    } catch (error) {
      // The command is accepted: an error here would say that it is not.
      logger.warn(
        { view, commandId, error: String(error) },
        'whether an inline view shows a command could not be told',
      );
      return [view];
    }
  };
  return async (request) => {
    const outcome = await handle(request);
    if (outcome.kind !== 'accepted' || outcome.dryRun === true) return outcome;
    const views = new Set(outcome.events.flatMap(({ type }) => viewsOf.get(type) ?? []));
    if (views.size === 0) return outcome;
    const deadlineMs = Date.now() + timeoutMs;
    const behind = (await Promise.all([...views].map((view) => lacks(view, outcome, deadlineMs)))).flat();
    return behind.length === 0 ? outcome : { ...outcome, behind };
  };
}

/** Inline views by the event types that they, or the version that is still read, take. */
function inlineViewsOf({ projectorOf }: Model): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, Set<string>>();
  for (const [view, consumer] of projectorOf) {
    if (consumer.projector.mode !== 'inline') continue;
    for (const type of typesOf(consumer)) found.set(type, (found.get(type) ?? new Set()).add(view));
  }
  return new Map(Array.from(found, ([type, views]) => [type, [...views]]));
}

const typesOf = ({ handles, previous }: ProjectorModel): readonly string[] => [
  ...handles,
  ...(previous === undefined ? [] : typesOf(previous)),
];
