import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { distilImage } from './image.js';
import { imageFormatFor } from './image-format.js';
import { applicable, choice, matchesType, REGISTERED, type ContentStep } from './steps.js';

const step = { ...REGISTERED.image, maxWidth: 200, maxHeight: 200 };
const picture = (channels: 3 | 4): Promise<Buffer> =>
  sharp({ create: { width: 800, height: 600, channels, background: { r: 51, g: 102, b: 153, alpha: 0.5 } } })
    .png()
    .toBuffer();
const subject = (accept: string) => ({
  mediaType: 'image/png',
  charset: undefined,
  uri: '',
  fields: { accept: imageFormatFor(accept) },
});

describe('pictures', () => {
  it.each([
    ['image/avif,image/webp,*/*', 'image/avif', 'heif'],
    ['image/webp,*/*;q=0.8', 'image/webp', 'webp'],
    ['image/webp;q=0, */*', 'image/jpeg', 'jpeg'],
    ['*/*', 'image/jpeg', 'jpeg'],
    ['', 'image/jpeg', 'jpeg'],
  ])('for Accept: %s become %s, and fit', async (accept, mediaType, format) => {
    const made = await distilImage(await picture(3), subject(accept), step);
    expect(made?.mediaType).toBe(mediaType);
    expect(await sharp(made?.content).metadata()).toMatchObject({ width: 200, height: 150, format });
  });

  it('with transparency stay PNG for a client that takes nothing else', async () => {
    expect((await distilImage(await picture(4), subject('*/*'), step))?.mediaType).toBe('image/png');
  });

  it('that are none, or are cut off, are an error', async () => {
    await expect(distilImage(Buffer.from('no picture'), subject(''), step)).rejects.toThrow();
    await expect(distilImage((await picture(3)).subarray(0, 300), subject(''), step)).rejects.toThrow();
  });
});

describe('steps', () => {
  it.each([
    ['image/*', 'image/png', true],
    ['image/*', 'text/png', false],
    ['application/*+json', 'application/ld+json', true],
    ['application/*+json', 'application/json', false],
    ['text/html', 'text/html', true],
  ])('%s is for %s: %s', (pattern, type, fits) => {
    expect(matchesType(pattern, type)).toBe(fits);
  });

  it('later ones may be for what earlier ones make', () => {
    const own = { vary: [], name: 'x', command: ['x'] };
    const toJson: ContentStep = {
      ...own,
      kind: 'command',
      types: ['text/csv'],
      mediaType: 'application/json',
    };
    expect(applicable([REGISTERED.image, toJson, REGISTERED.minify], 'text/csv')).toEqual([
      toJson,
      REGISTERED.minify,
    ]);
    expect(applicable([REGISTERED.minify, toJson], 'text/csv')).toEqual([toJson]);
  });

  it('share a result among requests that mean the same', () => {
    const of = (accept: string) => choice(REGISTERED.image, () => accept);
    expect(of('text/html, image/webp;q=0.9')).toEqual(of('IMAGE/WEBP'));
    expect(of('image/avif')).not.toEqual(of('image/webp'));
  });
});
