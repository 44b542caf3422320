/**
 * The one error base of the project. Callers branch on `code`, never on message text.
 *
 * `hint` says what the user can do next and is printed on a line of its own by the CLI.
 */
export class TpotError extends Error {
  override readonly name: string = 'TpotError';
  readonly code: string;
  readonly hint: string | undefined;
  /** Whether trying again later, with nothing changed, can help. */
  readonly retryable: boolean;

  constructor(
    code: string,
    message: string,
    options: { hint?: string | undefined; cause?: unknown; retryable?: boolean } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
    this.retryable = options.retryable ?? false;
  }
}

/** A kernel feature is missing; names the feature and the first kernel that has it. */
export class UnsupportedFeatureError extends TpotError {
  override readonly name = 'UnsupportedFeatureError';

  constructor(feature: string, minimumKernel: string, cause?: unknown) {
    super('kernel-feature-missing', `this kernel lacks ${feature} (needs Linux ${minimumKernel} or later)`, {
      hint: `Boot a kernel >= ${minimumKernel} built with it; \`uname -r\` shows the running one.`,
      cause,
    });
  }
}

/** The `message` of anything that was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
