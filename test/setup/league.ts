import { aggregate, customProjector, module, view } from 'millrace';
import { z } from 'zod';

/*
 * Players of teams. One custom projector keeps a document a player and one a team, which says who of its members is best: what that
 * is after somebody has left is known from the members' documents alone.
 */
export const player = aggregate({
  name: 'player',
  events: {
    Joined: z.object({ team: z.string() }),
    Scored: z.object({ by: z.int() }),
    Left: z.object({}),
  },
  commands: {
    Join: z.object({ team: z.string() }),
    Score: z.object({ by: z.int() }),
    Leave: z.object({}),
  },
  initial: () => null,
  evolve: { Joined: () => null, Scored: () => null, Left: () => null },
  decide: {
    Join: (_s, data) => ({ type: 'Joined', data }),
    Score: (_s, data) => ({ type: 'Scored', data }),
    Leave: () => ({ type: 'Left', data: {} }),
  },
});
export const leagueView = view(
  'league',
  z.object({
    id: z.string(),
    kind: z.enum(['player', 'team']),
    team: z.string(),
    total: z.int(),
    members: z.array(z.string()).optional(),
    best: z.string().optional(),
  }),
  { indexes: [{ kind: 1, total: -1 }] },
);

/** What a deployment of mended code leaves out. */
export interface LeagueBug {
  /** The handler breaks at such a score, in the middle of what it writes. */
  breaks?: ((by: number) => unknown) | undefined;
}

export function leagueModule(bug: LeagueBug = {}, attempts = 1) {
  const league = customProjector({
    name: 'league',
    version: 1,
    from: [player],
    into: leagueView,
    attempts,
    on: {
      Joined: ({ stream, data }, documents) => {
        const id = `player/${stream.id}`;
        if (documents.get(id) !== undefined) return;
        documents.put(id, { id, kind: 'player', team: data.team, total: 0 });
        documents.update(`team/${data.team}`, (team) => ({
          id: `team/${data.team}`,
          kind: 'team',
          team: data.team,
          total: team?.total ?? 0,
          members: [...(team?.members ?? []), id],
          best: team?.best ?? id,
        }));
      },
      Scored: ({ stream, data }, documents) => {
        const id = `player/${stream.id}`;
        const own = documents.get(id);
        if (own === undefined) return;
        documents.put(id, { ...own, total: own.total + data.by });
        if (bug.breaks?.(data.by)) throw new Error(`cannot score ${data.by}`);
        documents.update(`team/${own.team}`, (team) => {
          if (team === undefined) throw new Error('a player without a team');
          const best = documents.get(team.best ?? '');
          const isBest = best === undefined || own.total + data.by > best.total;
          return { ...team, total: team.total + data.by, ...(isBest && { best: id }) };
        });
      },
      Left: ({ stream }, documents) => {
        const id = `player/${stream.id}`;
        const own = documents.get(id);
        if (own === undefined) return;
        documents.remove(id);
        documents.update(`team/${own.team}`, (team) => {
          const rest = (team?.members ?? []).filter((member) => member !== id);
          if (team === undefined || rest.length === 0) return null;
          const totals = rest.map((member) => documents.get(member)?.total ?? 0);
          const best = rest[totals.indexOf(Math.max(...totals))];
          return { ...team, total: team.total - own.total, members: rest, ...(best !== undefined && { best }) };
        });
      },
    },
  });
  return module({ name: 'league', parts: [player, leagueView, league] });
}
