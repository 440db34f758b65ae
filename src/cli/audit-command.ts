import { askGateway, gatewayUrl } from './ask-gateway.ts';
import { type GatewayOptions, limitOf, nodesOf, print } from './operation-commands.ts';
import { short, table } from './table.ts';

interface ShownEntry {
  readonly at: string;
  readonly action: string;
  readonly actor: string | null;
  readonly target: string;
  readonly reason: string;
}

/** `millrace audit`: 0. */
export async function audit(
  options: GatewayOptions & {
    readonly action?: string;
    readonly actor?: string;
    readonly target?: string;
    readonly since?: string;
    readonly until?: string;
    readonly limit: string;
  },
): Promise<number> {
  const { action, actor, target, since, until } = options;
  const query = `query($filter: AuditFilter, $first: Int) { audit(filter: $filter, first: $first) {
    edges { node { id at action actor target reason before after } } } }`;
  const filter = { action, actor, target, since, until };
  const answer = await askGateway(gatewayUrl(options.url), query, { filter, first: limitOf(options.limit) });
  const found = nodesOf<ShownEntry>(answer.audit);
  if (found.length === 0 && options.json !== true) return print(options, found, 'Nothing was done by operators.\n');
  const rows = found.map((one) => [one.at, one.action, one.actor ?? '', one.target, short(one.reason, 80)]);
  return print(options, found, table(['AT', 'ACTION', 'ACTOR', 'TARGET', 'REASON'], rows));
}
