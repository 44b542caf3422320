/** Image distillation: the same picture in fewer bytes, in the best format that the client accepts. */
import sharp, { type Sharp } from 'sharp';
import { imageFormatFor } from './image-format.js';
import type { ImageStep } from './steps.js';
import type { ContentSubject, TransformedContent } from './transform.js';

/** A small file can stand for a picture that fills the memory: four bytes each. */
const MOST_PIXELS = 40_000_000;
/** AVIF's own scale from 0 to 9: beyond this a picture takes seconds. */
const AVIF_EFFORT = 2;

type Format = 'avif' | 'webp' | 'jpeg' | 'png';

// A process works on one picture at a time, and another core on the next one.
sharp.cache(false);
sharp.concurrency(1);

/** Only a picture with an alpha channel can be transparent; reading every pixel of the others is not needed. */
async function isOpaque(picture: Sharp, hasAlpha: boolean | undefined): Promise<boolean> {
  return hasAlpha !== true || (await picture.stats()).isOpaque;
}

async function formatFor(
  picture: Sharp,
  subject: ContentSubject,
  hasAlpha: boolean | undefined,
): Promise<Format> {
  const accepted = imageFormatFor(subject.fields['accept'] ?? '');
  if (accepted === 'image/avif') return 'avif';
  if (accepted === 'image/webp') return 'webp';
  // Who does not say that it takes WebP or AVIF gets what everybody can show.
  return (await isOpaque(picture, hasAlpha)) ? 'jpeg' : 'png';
}

function encode(picture: Sharp, format: Format, quality: number): Sharp {
  if (format === 'avif') return picture.avif({ quality, effort: AVIF_EFFORT });
  if (format === 'webp') return picture.webp({ quality });
  if (format === 'jpeg') return picture.jpeg({ quality });
  return picture.png({ palette: true, quality });
}

/**
 * JPEG, PNG, WebP and AVIF stills; an animation stays as it is. Metadata goes, the orientation is applied, colours become
 * sRGB.
 */
export async function distilImage(
  content: Buffer,
  subject: ContentSubject,
  { maxWidth, maxHeight, quality }: ImageStep,
): Promise<TransformedContent | undefined> {
  const picture = sharp(content, { limitInputPixels: MOST_PIXELS, failOn: 'error' });
  const { pages, hasAlpha } = await picture.metadata();
  if ((pages ?? 1) > 1) return undefined;
  const format = await formatFor(picture, subject, hasAlpha);
  const fitted = picture
    .rotate()
    .resize({ width: maxWidth, height: maxHeight, fit: 'inside', withoutEnlargement: true });
  return { content: await encode(fitted, format, quality).toBuffer(), mediaType: `image/${format}` };
}
