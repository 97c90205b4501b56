import { type ArtifactService, createArtifacts } from './artifacts.ts'
import { type AuditService, createAudit } from './audit.ts'
import { type BrowserSignInService, createBrowserSignIn } from './browser-sign-in.ts'
import { type BlobService, createBlobs } from './blobs.ts'
import { type ClusterService, createClusterService } from './cluster.ts'
import type { ServiceDeps } from './context.ts'
import { createExplanations, type ExplanationService } from './explanations.ts'
import { createEvents, type EventService } from './events.ts'
import { createExperiments, type ExperimentService } from './experiments.ts'
import { createDirectories } from './directories.ts'
import { OidcClients } from './identity/oidc.ts'
import { ProviderSecrets } from './identity/secrets.ts'
import { createIdentityProviders, type IdentityProviderService } from './identity-providers.ts'
import { createImages, type ImageService } from './images.ts'
import { createLogs, type LogService } from './logs.ts'
import { createMetrics, type MetricService } from './metrics.ts'
import { createMonitoring, type MonitoringService } from './monitoring.ts'
import { createNodes, type NodeService } from './nodes.ts'
import { createOrder, type OrderService } from './order.ts'
import { createPeople, type PeopleService } from './people.ts'
import { createSecrets, type SecretService } from './secrets.ts'
import { createKerberos, type KerberosService } from './kerberos.ts'
import { createPolicy, type PolicyService } from './policy.ts'
import { createRegistries, type RegistryService } from './registries.ts'
import { createSharing, type SharingService } from './sharing.ts'
import { createTeams, type TeamService } from './teams.ts'
import { TokenUse } from './token-use.ts'
import { createTokens, type TokenService } from './tokens.ts'
import { createUsage, type UsageService } from './usage.ts'
import { createUsers, type UserService } from './users.ts'
import { Watch, type WatchService } from './watch.ts'

export type { Consistency, ServiceDeps } from './context.ts'

/** The cluster's rules for people and programs, whatever protocol they speak. Every call takes who asks. */
export interface Services {
  readonly people: PeopleService
  readonly users: UserService
  readonly teams: TeamService
  readonly tokens: TokenService
  readonly sharing: SharingService
  readonly identityProviders: IdentityProviderService
  readonly browserSignIn: BrowserSignInService
  readonly cluster: ClusterService
  readonly nodes: NodeService
  readonly experiments: ExperimentService
  readonly explanations: ExplanationService
  readonly events: EventService
  readonly logs: LogService
  readonly metrics: MetricService
  readonly artifacts: ArtifactService
  readonly audit: AuditService
  readonly monitoring: MonitoringService
  readonly blobs: BlobService
  readonly images: ImageService
  readonly registries: RegistryService
  readonly policy: PolicyService
  readonly kerberos: KerberosService
  readonly secrets: SecretService
  readonly order: OrderService
  readonly usage: UsageService
  readonly watch: WatchService
  close(): void
}

export function createServices(deps: ServiceDeps): Services {
  const watch = new Watch(deps)
  const audit = createAudit(deps)
  const use = new TokenUse(deps.cluster, deps.now ?? Date.now)
  const secrets = new ProviderSecrets(deps)
  const clients = new OidcClients(deps.now ?? Date.now)
  return {
    people: createPeople(deps, use, createDirectories(deps, secrets)),
    identityProviders: createIdentityProviders(deps, secrets, clients),
    browserSignIn: createBrowserSignIn(deps, secrets, clients),
    users: createUsers(deps),
    teams: createTeams(deps),
    tokens: createTokens(deps, use),
    sharing: createSharing(deps),
    cluster: createClusterService(deps),
    audit,
    nodes: createNodes(deps),
    experiments: createExperiments(deps),
    explanations: createExplanations(deps),
    events: createEvents(deps),
    logs: createLogs(deps),
    metrics: createMetrics(deps),
    artifacts: createArtifacts(deps),
    monitoring: createMonitoring(deps),
    blobs: createBlobs(deps),
    images: createImages(deps),
    registries: createRegistries(deps),
    policy: createPolicy(deps),
    kerberos: createKerberos(deps),
    secrets: createSecrets(deps),
    order: createOrder(deps),
    usage: createUsage(deps),
    watch,
    close: () => {
      watch.close()
      use.close()
      audit.close()
    },
  }
}
