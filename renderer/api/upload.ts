import type { Send } from '../../contract/client.ts'
import { ProblemError } from '../../contract/problem.ts'

/** A `Send` that tells how much of a body is sent: `fetch` does not. `signal` aborts it. */
export const sendingWith =
  (told: (bytes: number) => void): Send =>
  (path, init) =>
    new Promise((resolve, reject) => {
      const request = new XMLHttpRequest()
      request.open(init.method ?? 'GET', path)
      for (const [name, value] of new Headers(init.headers)) request.setRequestHeader(name, value)
      request.responseType = 'text'
      request.upload.onprogress = ({ loaded }) => told(loaded)
      request.onload = () =>
        resolve(
          new Response(request.status === 204 ? null : request.responseText, { status: request.status }),
        )
      request.onerror = () =>
        reject(
          new ProblemError('no_leader', 'The agent behind this page broke off', {
            hint: 'Check that it runs, and that its disk has room; then send the file again.',
          }),
        )
      request.onabort = () => reject(new DOMException('given up', 'AbortError'))
      init.signal?.addEventListener('abort', () => request.abort(), { once: true })
      request.send(init.body as XMLHttpRequestBodyInit)
    })
