export declare function isNewEnough(version: string): boolean
export declare function findNode(): string
export declare function findScript(tool: string): string
export declare function become(script: string, args: string[]): void
export declare function orFail<T>(job: () => T): T
