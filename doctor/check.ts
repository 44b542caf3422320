/** One finding of `tpot-node doctor`. */
export type CheckStatus = 'ok' | 'warn' | 'fail';

export interface Check {
  /** Stable: scripts select by it. */
  readonly name: string;
  /** `fail`: tpot-node does not work here, or not towards the destination. `warn`: part of it, or less well. */
  readonly status: CheckStatus;
  readonly found: string;
  /** What can be done; null where there is nothing to do. */
  readonly mend: string | null;
}

export const ok = (name: string, found: string): Check => ({ name, status: 'ok', found, mend: null });

export const warn = (name: string, found: string, mend: string): Check => ({
  name,
  status: 'warn',
  found,
  mend,
});

export const fail = (name: string, found: string, mend: string): Check => ({
  name,
  status: 'fail',
  found,
  mend,
});
