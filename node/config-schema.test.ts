/** The schema itself, which is not checked again at each start of a node. */
import { readFileSync } from 'node:fs';
import { Ajv2020, type AnySchemaObject } from 'ajv/dist/2020.js';
import { expect, it } from 'vitest';

it('config.schema.json is a schema of its draft', () => {
  const schema = JSON.parse(
    readFileSync(new URL('./config.schema.json', import.meta.url), 'utf8'),
  ) as AnySchemaObject;
  const ajv = new Ajv2020({ allErrors: true });
  void ajv.validateSchema(schema);
  expect(ajv.errors).toBeNull();
});
