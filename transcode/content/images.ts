/** Image distillation: the same picture in fewer bytes, in the best format that the client accepts. */
import type SharpConstructor from 'sharp';
import type { Sharp } from 'sharp';
import { TpotError } from '../../core/errors.js';
import type { ContentSubject, ContentTransform, TransformedContent } from './transform.js';

export interface ImageOptions {
  /** Pixels; a larger picture is made smaller, its proportions stay. */
  readonly maxWidth: number;
  readonly maxHeight: number;
  /** 1 to 100. */
  readonly quality: number;
}

export const IMAGE_DEFAULTS: ImageOptions = { maxWidth: 1280, maxHeight: 1280, quality: 60 };
/** A small file can stand for a picture that fills the memory. */
const MOST_PIXELS = 50_000_000;
/** AVIF's own scale from 0 to 9: beyond this a picture takes seconds. */
const AVIF_EFFORT = 2;

type Format = 'avif' | 'webp' | 'jpeg' | 'png';

async function loadSharp(): Promise<typeof SharpConstructor> {
  try {
    return (await import('sharp')).default;
  } catch (cause) {
    throw new TpotError(
      'sharp-missing',
      'the transform "images" needs the package sharp, which is not installed',
      {
        hint: 'Run `npm install --include=optional`, or take "images" out of the rules.',
        cause,
      },
    );
  }
}

/** Whether the Accept field names the type itself: a wildcard is what everyone sends (RFC 9110 section 12.5.1). */
function accepts(accept: string, type: string): boolean {
  return accept
    .split(',')
    .map((range) => range.split(';').map((part) => part.trim().toLowerCase()))
    .some(([range, ...parameters]) => range === type && !parameters.some((one) => /^q=0(\.0*)?$/.test(one)));
}

function formatFor(accept: string, mediaType: string, opaque: boolean): Format {
  if (accepts(accept, 'image/avif')) return 'avif';
  if (accepts(accept, 'image/webp')) return 'webp';
  return mediaType === 'image/png' && !opaque ? 'png' : 'jpeg';
}

function encode(picture: Sharp, format: Format, quality: number): Sharp {
  if (format === 'avif') return picture.avif({ quality, effort: AVIF_EFFORT });
  if (format === 'webp') return picture.webp({ quality });
  if (format === 'jpeg') return picture.jpeg({ quality, mozjpeg: true });
  return picture.png({ palette: true, quality });
}

/** JPEG, PNG, WebP and AVIF stills; an animation stays as it is. Metadata goes, the orientation is applied. */
export function imageTransform(options: ImageOptions): ContentTransform {
  const transform = async (
    content: Buffer,
    subject: ContentSubject,
  ): Promise<TransformedContent | undefined> => {
    const sharp = await loadSharp();
    const picture = sharp(content, { limitInputPixels: MOST_PIXELS, failOn: 'error' });
    const { pages, isOpaque } = { ...(await picture.metadata()), ...(await opacity(picture)) };
    if ((pages ?? 1) > 1) return undefined;
    const format = formatFor(subject.accept, subject.mediaType, isOpaque);
    const { maxWidth, maxHeight, quality } = options;
    const fitted = picture
      .rotate()
      .resize({ width: maxWidth, height: maxHeight, fit: 'inside', withoutEnlargement: true });
    return { content: await encode(fitted, format, quality).toBuffer(), mediaType: `image/${format}` };
  };
  return {
    name: 'images',
    types: ['image/jpeg', 'image/png', 'image/webp', 'image/avif'],
    vary: ['Accept'],
    transform,
  };
}

/** Only a picture with an alpha channel can be transparent; reading every pixel of the others is not needed. */
async function opacity(picture: Sharp): Promise<{ isOpaque: boolean }> {
  const { hasAlpha } = await picture.metadata();
  return { isOpaque: !hasAlpha || (await picture.stats()).isOpaque };
}
