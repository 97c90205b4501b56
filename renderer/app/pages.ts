import type { Component } from 'svelte'
import Overview from '../pages/overview/Overview.svelte'
import type { PageName } from './routes.ts'

type Page = Component<{ params: Readonly<Record<string, string>> }>

/** Pages behind the first one come when they are asked for. */
const loaders: Record<PageName, () => Promise<{ default: Component<never> }>> = {
  overview: () => Promise.resolve({ default: Overview }),
  experiments: () => import('../pages/experiments/ExperimentList.svelte'),
  newExperiment: () => import('../pages/experiments/NewExperiment.svelte'),
  experiment: () => import('../pages/experiments/ExperimentDetail.svelte'),
  nodes: () => import('../pages/nodes/NodeList.svelte'),
  node: () => import('../pages/nodes/NodeDetail.svelte'),
  queue: () => import('../pages/queue/QueuePage.svelte'),
  images: () => import('../pages/images/ImagesPage.svelte'),
  secrets: () => import('../pages/secrets/SecretsPage.svelte'),
  people: () => import('../pages/people/PeoplePage.svelte'),
  events: () => import('../pages/events/EventsPage.svelte'),
  settings: () => import('../pages/settings/Settings.svelte'),
  about: () => import('../pages/about/AboutPage.svelte'),
}

export async function loadPage(name: PageName): Promise<Page> {
  return (await loaders[name]()).default as unknown as Page
}

/** Fetch the other pages while nothing else goes on: the agent behind this page may be gone when they are needed. */
export function preloadPages(): void {
  setTimeout(() => {
    for (const load of Object.values(loaders)) load().catch(() => undefined)
  }, 1500)
}
