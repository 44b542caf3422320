/** Pipelines as the configuration has resolved them: plain data, which can be compared, shown, and sent to a worker. */
import { createHash } from 'node:crypto';
import { imageFormatFor } from './image-format.js';

interface StepBase {
  /** In `stats`. */
  readonly name: string;
  /** Media types it is for: `image/png`, `image/*`, `application/*+json`. */
  readonly types: readonly string[];
  /** Lower-case names of request fields that its result depends on. */
  readonly vary: readonly string[];
}

export interface MinifyStep extends StepBase {
  readonly kind: 'minify';
}

export interface ImageStep extends StepBase {
  readonly kind: 'image';
  /** Pixels; a larger picture is made smaller, its proportions stay. */
  readonly maxWidth: number;
  readonly maxHeight: number;
  /** 1 to 100. */
  readonly quality: number;
}

export interface CommandStep extends StepBase {
  readonly kind: 'command';
  /** Program and arguments; no shell reads them. */
  readonly command: readonly string[];
  /** The media type of what it prints, when it is another one. */
  readonly mediaType: string | undefined;
}

export interface ModuleStep extends StepBase {
  readonly kind: 'module';
  /** Absolute. */
  readonly path: string;
  /** Tells two contents of the file apart. */
  readonly version: string;
  readonly options: Readonly<Record<string, unknown>>;
}

export type ContentStep = MinifyStep | ImageStep | CommandStep | ModuleStep;

export interface Pipeline {
  /** Two pipelines that do the same have the same. */
  readonly id: string;
  readonly steps: readonly ContentStep[];
}

export function pipelineOf(steps: readonly ContentStep[]): Pipeline {
  const id = createHash('sha256').update(JSON.stringify(steps)).digest('base64url').slice(0, 16);
  return { id, steps };
}

const IMAGES = ['image/jpeg', 'image/png', 'image/webp', 'image/avif'];
/** What no document vouches for with `integrity` attributes (Subresource Integrity). */
export const MINIFY_TYPES = ['application/json', 'application/*+json', 'text/html'];
/** What `minify` understands beyond these, if it is told to. */
export const SCRIPT_TYPES = ['text/css', 'text/javascript', 'application/javascript'];

const MINIFY: MinifyStep = { kind: 'minify', name: 'minify', types: MINIFY_TYPES, vary: [] };
const IMAGE: ImageStep = {
  kind: 'image',
  name: 'image',
  types: IMAGES,
  vary: ['accept'],
  maxWidth: 1280,
  maxHeight: 1280,
  quality: 60,
};

/** The transforms that come with the program, by name, with their defaults. */
export const REGISTERED = { minify: MINIFY, image: IMAGE } as const;

export function matchesType(pattern: string, mediaType: string): boolean {
  const star = pattern.indexOf('*');
  if (star < 0) return pattern === mediaType;
  const [head, tail] = [pattern.slice(0, star), pattern.slice(star + 1)];
  return (
    mediaType.length >= head.length + tail.length && mediaType.startsWith(head) && mediaType.endsWith(tail)
  );
}

export function isFor({ types }: ContentStep, mediaType: string): boolean {
  return types.some((type) => matchesType(type, mediaType));
}

/** The steps that may have something to do when a pipeline begins with this media type; what a module makes is unknown. */
export function applicable(steps: readonly ContentStep[], mediaType: string): ContentStep[] {
  const possible = new Set([mediaType]);
  let anything = false;
  return steps.filter((step) => {
    if (!anything && ![...possible].some((type) => isFor(step, type))) return false;
    if (step.kind === 'module') anything = true;
    else if (step.kind === 'image') for (const type of IMAGES) possible.add(type);
    else if (step.kind === 'command' && step.mediaType !== undefined) possible.add(step.mediaType);
    return true;
  });
}

/**
 * What request fields come to for a step: requests with the same share its result. For pictures that is one of few formats,
 * however many ways there are to write Accept.
 */
export function choice(step: ContentStep, field: (name: string) => string): Record<string, string> {
  if (step.kind === 'image') return { accept: imageFormatFor(field('accept')) };
  return Object.fromEntries(step.vary.map((name) => [name, field(name)]));
}
