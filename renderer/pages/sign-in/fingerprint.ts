/** `ab12…` as certificate viewers write it: AB:12:… */
export const fingerprint = (digest: string): string => digest.toUpperCase().match(/../g)?.join(':') ?? digest
