/** Reading the configuration again while the node runs: all of it, or, when anything is wrong with it, nothing. */
import { messageOf } from '../core/errors.js';
import type { Logger } from '../core/log.js';
import { applicable, diffConfigs, type ConfigChange } from './config-diff.js';
import type { ConfigProblem } from './config-file.js';
import { ConfigError, type NodeConfig } from './config.js';

/** What `reload --json` prints. */
export type ReloadReport =
  | {
      readonly reloaded: true;
      readonly changes: readonly ConfigChange[];
      readonly needsRestart: readonly ConfigChange[];
    }
  /** Nothing has changed. */
  | { readonly reloaded: false; readonly problems: readonly ConfigProblem[] };

export interface Reloadable {
  readonly config: NodeConfig;
  reconfigure(config: NodeConfig): void;
}

/** Entries of one change that the log shows; `reload --json` has all. */
const MOST_LOGGED = 20;

function shown(entries: readonly string[]): string {
  const more = entries.length - MOST_LOGGED;
  return [...entries.slice(0, MOST_LOGGED), ...(more > 0 ? [`and ${more} more`] : [])].join('; ');
}

function logChange(logger: Logger, event: string, { key, removed, added }: ConfigChange): void {
  const order = removed.length + added.length === 0 ? { order: 'changed' } : {};
  logger.info(event, { key, removed: shown(removed), added: shown(added), ...order });
}

function refused(error: unknown, logger: Logger): ReloadReport {
  const problems =
    error instanceof ConfigError
      ? error.problems
      : [
          {
            where: 'kernel',
            message: messageOf(error),
            hint: 'The configuration in force is the earlier one.',
          },
        ];
  for (const { where, message, hint = '' } of problems) {
    logger.error('reload-refused', { where, problem: message, hint });
  }
  return { reloaded: false, problems };
}

/** Loads the configuration with `load` and applies it. Never throws: what is wrong is logged and returned. */
export function reload(node: Reloadable, load: () => NodeConfig, logger: Logger): ReloadReport {
  try {
    const before = node.config;
    const after = load();
    const { changes, needsRestart } = diffConfigs(before, after);
    node.reconfigure(applicable(before, after));
    for (const change of changes) logChange(logger, 'config-changed', change);
    for (const change of needsRestart) logChange(logger, 'needs-restart', change);
    logger.info('reloaded', { changed: changes.length, needsRestart: needsRestart.length });
    return { reloaded: true, changes, needsRestart };
  } catch (error) {
    return refused(error, logger);
  }
}
