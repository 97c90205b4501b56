export declare function findElectron(
  env: Record<string, string | undefined>,
  modules: string,
  platform?: string,
): string | undefined
export declare const howToGetElectron: string
