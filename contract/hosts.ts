/** Names under which clouds tell a machine its own credentials, besides the link-local addresses. */
const metadata = new Set(['metadata.google.internal', 'metadata.goog', '[fd00:ec2::254]'])

/**
 * Does HOST or HOST:PORT mean this machine's own surroundings, where clouds keep credentials that any program may ask for?
 * Nothing of a lab is there: it is on private networks, which are good.
 */
export function isOfHost(host: string): boolean {
  // As programs read it: other spellings of an address become the usual one.
  const name = URL.parse(`http://${host}`)?.hostname.replace(/\.$/, '') ?? host
  return metadata.has(name) || isLinkLocal(name)
}

export function isLinkLocal(address: string): boolean {
  const plain = address.toLowerCase().replace(/^\[|\]$/g, '')
  if (/^(?:::ffff:)?169\.254\./.test(plain)) return true
  return /^(?:fe[89ab][0-9a-f]:|::ffff:a9fe:)/.test(plain)
}

export const ofHost =
  'expected an address on a network, not a link-local one (169.254.…, fe80:…), where hosts keep credentials'
