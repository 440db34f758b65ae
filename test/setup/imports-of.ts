export interface Import {
  readonly specifier: string;
  /** True when nothing of it is left after compiling. */
  readonly typeOnly: boolean;
}

/**
 * What a source file imports, in order: static, re-exported, dynamic and `import('…')` types. No parser: it looks for
 * statements at their beginning and knows comments and strings, which is enough for code that Biome has formatted.
 */
export function importsOf(source: string): readonly Import[] {
  const code = withoutComments(source);
  const statement =
    /(?:^|;)[ \t]*(import|export)\b((?:[^'"`;=()]|\btype\b)*?)(?:\bfrom\s*|(?<=import)\s+)(['"])([^'"\n]+)\3/gm;
  const dynamic = /\bimport\(\s*(['"])([^'"\n]+)\1/g;
  const found: (Import & { readonly at: number })[] = [];
  for (const match of code.matchAll(statement)) {
    found.push({ at: match.index, specifier: match[4] ?? '', typeOnly: isTypeOnly(match[2] ?? '') });
  }
  for (const match of code.matchAll(dynamic))
    found.push({ at: match.index, specifier: match[2] ?? '', typeOnly: false });
  return found.sort((a, b) => a.at - b.at).map(({ specifier, typeOnly }) => ({ specifier, typeOnly }));
}

/** `type { A }`, `type A`, `{ type A, type B }`; but `{ A, type B }` is there at run time. */
function isTypeOnly(clause: string): boolean {
  const text = clause.trim();
  if (/^type\s+(?!,|from\b)/.test(text)) return true;
  const [, names] = /^\{([^}]*)\}$/.exec(text) ?? [];
  const list = names?.split(',').filter((name) => name.trim() !== '') ?? [];
  return list.length > 0 && list.every((name) => /^\s*type\s/.test(name));
}

/** Comments become blanks. A string is skipped as a whole, so that a `//` in it begins nothing. */
function withoutComments(source: string): string {
  const token = /'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|\/\*.*?\*\/|\/\/[^\n]*/gs;
  return source.replace(token, (text) => (text.startsWith('/') ? text.replace(/[^\n]/g, ' ') : text));
}
