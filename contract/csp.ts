/**
 * One policy for the console in both its hosts. Styles may be inline because Svelte's transitions and the charts write
 * them; scripts come from files of ours alone.
 */
export const csp = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "connect-src 'self'",
  "img-src 'self' data: blob:",
  "font-src 'self'",
  "worker-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

/**
 * On every answer. No HSTS: a lab's host names also serve other things, in plain HTTP, and the cluster's own
 * CA may be replaced.
 */
export const securityHeaders: Readonly<Record<string, string>> = {
  'content-security-policy': csp,
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
}
