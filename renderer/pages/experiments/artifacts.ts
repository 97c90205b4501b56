import type { Artifact } from '../../../contract/objects.ts'
import type { Api } from '../../api/client.ts'

export async function artifactsOf(api: Api, experiment: string): Promise<readonly Artifact[]> {
  const found: Artifact[] = []
  let token: string | null = null
  do {
    const query: { page_size: number; page_token?: string } = {
      page_size: 1000,
      ...(token ? { page_token: token } : {}),
    }
    const page: { items: Artifact[]; next_page_token: string | null } = await api.call(
      'experiments.artifacts',
      { params: { experiment }, query },
    )
    found.push(...page.items)
    token = page.next_page_token
  } while (token)
  return found
}

export const fileName = (path: string): string => path.split('/').at(-1) ?? path
