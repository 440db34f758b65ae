import { MillraceError } from '../src/index.ts';

const words = (name: string): readonly string[] => name.split(/[-_]+/).filter((word) => word !== '');
const capital = (word: string): string => word.slice(0, 1).toUpperCase() + word.slice(1);
const small = (word: string): string => word.slice(0, 1).toLowerCase() + word.slice(1);

/** `OpenAccount`, `open-account`, `open_account` → `OpenAccount`: names of types. */
export const pascalCase = (name: string): string => words(name).map(capital).join('');
/** `OpenAccount`, `open-account`, `open_account` → `openAccount`: names of fields. */
export const camelCase = (name: string): string => small(pascalCase(name));

/** English plural by its regular rules; anything else is named by hand (`list` in the options of `exposeModule`). */
export function plural(name: string): string {
  if (/(s|x|z|ch|sh)$/.test(name)) return `${name}es`;
  if (/[^aeiou]y$/.test(name)) return `${name.slice(0, -1)}ies`;
  return `${name}s`;
}

/** Names that GraphQL takes and does not keep for itself. */
export const isGraphqlName = (name: string): boolean => /^(?!__)[_A-Za-z][_0-9A-Za-z]*$/.test(name);

/** Throws SCHEMA_NOT_DERIVABLE when GraphQL would not take the name. */
export function checkedName(name: string, place: string): string {
  if (isGraphqlName(name)) return name;
  throw new MillraceError(
    'SCHEMA_NOT_DERIVABLE',
    `${place}: "${name}" is no name for GraphQL. Use letters, digits and "_", not beginning with a digit or "__"; rename it, or hide it in the options of exposeModule.`,
  );
}
