import { z } from 'zod'
import { Image, ImageJob, ImageName, ImagePolicy, Registry, RegistryInput } from './images.ts'
import { consistency, page, pageOf, type Route } from './route.ts'
import { Sha256 } from './text.ts'

const flag = z
  .enum(['0', '1', 'false', 'true'])
  .default('0')
  .transform((v) => v === '1' || v === 'true')
const Started = z.object({ image: z.string(), nodes: z.array(z.string()) })

export const imageRoutes = {
  'images.import': {
    method: 'POST', path: '/images', summary: 'Import an image archive (docker save or OCI layout, plain or gzip); acknowledged when its layers are durable on two nodes', access: 'image:create', upload: 'bytes',
    query: z.object({
      name: ImageName.optional().describe('Instead of the names in the archive.'),
      sha256: Sha256.optional().describe('Of the archive: refused if another arrives.'),
    }),
    status: 201, reply: z.object({ items: z.array(Image) }), problems: ['too_large', 'disk_low', 'busy', 'node_unreachable', 'outcome_unknown'],
  },
  'images.list': {
    method: 'GET', path: '/images', summary: 'Images, and which node has which', access: 'image:read',
    query: z.object({ ...page, ...consistency, imported: flag.describe('Only those that the cluster keeps.') }),
    status: 200, reply: pageOf(Image), problems: [],
  },
  'images.get': { method: 'GET', path: '/images/{image*}', summary: 'One image, by name or digest', access: 'image:read', query: z.object(consistency), status: 200, reply: Image, problems: ['not_found'] },
  'images.remove': { method: 'DELETE', path: '/images/{image*}', summary: 'Take a name away; with its last one, or by digest, the cluster’s copies go', access: 'image:delete', status: 204, problems: ['not_found', 'conflict', 'outcome_unknown'] },
  'images.pull': { method: 'POST', path: '/image-pulls', summary: 'Have nodes bring an image into their engines before it is needed', access: 'image:create', body: ImageJob, status: 201, reply: Started, problems: ['not_found', 'conflict', 'outcome_unknown'] },
  'images.evict': { method: 'POST', path: '/image-evictions', summary: 'Have nodes remove an image from their engines', access: 'image:delete', body: ImageJob, status: 201, reply: Started, problems: ['not_found', 'conflict', 'outcome_unknown'] },
  'imagePolicy.get': { method: 'GET', path: '/image-policy', summary: 'How long unused images are kept', access: 'image:read', query: z.object(consistency), status: 200, reply: ImagePolicy, problems: [] },
  'imagePolicy.set': { method: 'PUT', path: '/image-policy', summary: 'Say how long unused images are kept', access: 'cluster:admin', body: ImagePolicy, status: 200, reply: ImagePolicy, problems: ['outcome_unknown'] },
  'images.collect': {
    method: 'POST', path: '/image-collections', summary: 'Remove what nobody used for so long; by default as the policy says', access: 'image:delete',
    query: z.object({ unused_seconds: z.coerce.number().int().min(0).optional(), dry_run: flag }),
    status: 200, reply: z.object({ engines: z.array(z.object({ node: z.string(), image: z.string(), bytes: z.int() })), cluster: z.array(z.object({ image: z.string(), bytes: z.int() })), kept: z.array(z.object({ image: z.string(), why: z.string() })) }),
    problems: ['outcome_unknown'],
  },

  'registries.list': { method: 'GET', path: '/registries', summary: 'Private registries', access: 'image:read', query: z.object({ ...page, ...consistency }), status: 200, reply: pageOf(Registry), problems: [] },
  'registries.add': { method: 'POST', path: '/registries', summary: 'Add a private registry, or replace what it is told', access: 'cluster:admin', body: RegistryInput, status: 201, reply: Registry, problems: ['node_unreachable', 'outcome_unknown'] },
  'registries.remove': { method: 'DELETE', path: '/registries/{host}', summary: 'Forget a registry and its credentials', access: 'cluster:admin', status: 204, problems: ['not_found', 'outcome_unknown'] },
} as const satisfies Record<string, Route> // prettier-ignore
