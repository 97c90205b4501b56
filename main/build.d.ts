export declare function buildDesktop(outDir?: string): Promise<void>
