import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { fastifyStatic } from '@fastify/static'
import type { FastifyInstance, FastifyReply } from 'fastify'
import { ProblemError } from '../../contract/index.ts'
import type { HttpDeps } from './server.ts'
import { sendProblem } from './problems.ts'

type ConsoleDeps = Pick<HttpDeps, 'services' | 'consoleFolder' | 'demoFile'>

/** The console's files, health for probes, and index.html for every address the console routes itself. */
export async function serveConsole(app: FastifyInstance, deps: ConsoleDeps): Promise<void> {
  const { services, consoleFolder, demoFile } = deps
  await app.register(fastifyStatic, {
    root: consoleFolder,
    prefix: '/assets/',
    decorateReply: true,
    suppressWarning: true,
    serve: false,
  })
  app.get('/livez', async () => ({ alive: true }))
  app.get('/readyz', async (_request, reply) => {
    const state = services.cluster.ready()
    return reply.status(state.ready ? 200 : 503).send(state)
  })
  app.get('/demo.json', async (_request, reply) => {
    if (demoFile === undefined) throw new ProblemError('not_found', 'this is not a demo')
    return reply.type('application/json').send(await readFile(demoFile, 'utf8'))
  })
  app.setNotFoundHandler(async (request, reply) => {
    const path = request.url.split(/[?#]/)[0] ?? ''
    const isPage = request.method === 'GET' || request.method === 'HEAD'
    if (!isPage || path === '/api' || path.startsWith('/api/'))
      return sendProblem(
        new ProblemError('not_found', `there is no ${request.method} ${clip(path)}`),
        request,
        reply,
      )
    return sendPage(reply, consoleFolder, path)
  })
}

/** Names under /assets/ hold their content's hash, so they never change; everything else is asked for again. */
async function sendPage(reply: FastifyReply, folder: string, path: string): Promise<unknown> {
  const file = safePath(path)
  const isAsset = file.startsWith('assets/')
  if (file !== '' && (await exists(join(folder, file))))
    return reply.sendFile(file, folder, isAsset ? { immutable: true, maxAge: '365d' } : { maxAge: 0 })
  if (isAsset || /\.\w{1,5}$/.test(file))
    throw new ProblemError('not_found', `there is no file ${clip(path)}`)
  if (await exists(join(folder, 'index.html')))
    return reply.header('cache-control', 'no-cache').sendFile('index.html', folder, { cacheControl: false })
  return reply.type('text/html; charset=utf-8').send(notBuilt)
}

/** Decoded, relative, without a way out of the folder and without hidden files; empty when it is not such a path. */
function safePath(path: string): string {
  let decoded: string
  try {
    decoded = decodeURIComponent(path).replace(/^\/+/, '')
  } catch {
    return ''
  }
  const parts = decoded.split('/')
  const isSafe = !/[\\\0]/.test(decoded) && parts.every((part) => part !== '' && !part.startsWith('.'))
  return isSafe ? decoded : ''
}

const exists = (path: string) =>
  stat(path).then(
    (found) => found.isFile(),
    () => false,
  )

const clip = (text: string) => (text.length > 200 ? `${text.slice(0, 200)}…` : text)

const notBuilt = `<!doctype html><html lang="en"><meta charset="utf-8"><title>submarine</title>
<h1>The console is not built yet</h1>
<p>Run <code>npm run build</code> in the project's folder, then load this page again.
The API answers meanwhile: <a href="/api/v2/version">/api/v2/version</a>, <a href="/api/v2/openapi.json">openapi.json</a>.</p>
`
