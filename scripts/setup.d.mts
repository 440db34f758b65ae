export declare const root: string;
export declare const sourceFlags: readonly string[];
export declare function setUp(): void;
export declare function ensureDependencies(folder: string): void;
/** What is missing in the folder's node_modules by its lock file; undefined: nothing. */
export declare function whyInstall(folder: string): string | undefined;
/** `name@version` of binaries for the platform that neither the lock file nor the folder's node_modules has. */
export declare function missingBinaries(
  folder: string,
  platform?: { readonly name: string; readonly musl: boolean },
): string[];
