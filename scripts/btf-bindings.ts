/** Turns the BTF types of a BPF object into TypeScript source. Pure but for {@link dumpBtf}, which runs bpftool. */
import { commandSync } from '../host/exec.js';

interface BtfMember {
  readonly name: string;
  readonly type_id: number;
  readonly bits_offset: number;
}
interface BtfType {
  readonly id: number;
  readonly kind: string;
  readonly name: string;
  readonly size?: number;
  readonly type_id?: number;
  readonly nr_elems?: number;
  readonly members?: readonly BtfMember[];
  readonly values?: readonly { readonly name: string; readonly val: number }[];
  readonly vars?: readonly { readonly type_id: number }[];
}
type Btf = ReadonlyMap<number, BtfType>;

/** How one member is read and written through a little-endian host's DataView. */
interface Codec {
  readonly size: number;
  readonly type: string;
  read(at: string): string;
  write(at: string, value: string): string;
}

export function dumpBtf(object: string): Btf {
  const dump = JSON.parse(commandSync('bpftool', ['-j', 'btf', 'dump', 'file', object])) as {
    types: BtfType[];
  };
  return new Map(dump.types.map((type) => [type.id, type]));
}

const camel = (name: string): string =>
  name.replace(/_+([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
const pascal = (name: string): string => camel(`_${name}`);

function get(btf: Btf, id: number | undefined): BtfType {
  const type = btf.get(id ?? 0);
  if (type === undefined) throw new Error(`BTF type ${String(id)} is not in the object`);
  return type;
}

/** Follows typedefs and qualifiers; remembers whether one of them says network byte order. */
function resolve(btf: Btf, id: number): { type: BtfType; bigEndian: boolean } {
  let type = get(btf, id);
  let bigEndian = false;
  while (['TYPEDEF', 'CONST', 'VOLATILE'].includes(type.kind)) {
    bigEndian ||= type.name.startsWith('__be');
    type = get(btf, type.type_id);
  }
  return { type, bigEndian };
}

function codecOf(btf: Btf, id: number): Codec {
  const { type, bigEndian } = resolve(btf, id);
  if (type.kind === 'ARRAY') {
    const size = (type.nr_elems ?? 0) * codecOf(btf, type.type_id ?? 0).size;
    return {
      size,
      type: 'Uint8Array',
      read: (at) => `bytesAt(view, ${at}, ${size})`,
      write: (at, value) => `putBytes(view, ${at}, ${size}, ${value})`,
    };
  }
  if (type.kind === 'STRUCT') {
    const name = pascal(type.name);
    return {
      size: type.size ?? 0,
      type: name,
      read: (at) => `${name}Codec.read(view, ${at})`,
      write: (at, value) => `${name}Codec.write(view, ${value}, ${at})`,
    };
  }
  if (type.kind !== 'INT' && type.kind !== 'ENUM') throw new Error(`no codec for BTF kind ${type.kind}`);
  const size = type.size ?? 0;
  const order = size === 1 ? '' : `, ${String(!bigEndian)}`;
  const method = size === 8 ? 'BigUint64' : `Uint${size * 8}`;
  return {
    size,
    type: size === 8 ? 'bigint' : 'number',
    read: (at) => `view.get${method}(${at}${order})`,
    write: (at, value) => `view.set${method}(${at}, ${value}${order})`,
  };
}

function structSource(btf: Btf, type: BtfType): string {
  const name = pascal(type.name);
  const members = (type.members ?? []).map((member) => ({
    name: camel(member.name),
    at: member.bits_offset / 8,
    codec: codecOf(btf, member.type_id),
  }));
  const lines = [
    `/** \`struct ${type.name}\`, ${type.size ?? 0} bytes. */`,
    `export interface ${name} {`,
    ...members.map((member) => `  ${member.name}: ${member.codec.type};`),
    '}',
    `export const ${name}Codec = {`,
    `  size: ${type.size ?? 0},`,
    `  at: { ${members.map((member) => `${member.name}: ${member.at}`).join(', ')} },`,
    '  read: (view, at = 0) => ({',
    ...members.map((member) => `    ${member.name}: ${member.codec.read(`at + ${member.at}`)},`),
    '  }),',
    '  write: (view, value, at = 0) => {',
    ...members.map((member) => `    ${member.codec.write(`at + ${member.at}`, `value.${member.name}`)};`),
    '  },',
    `} satisfies Codec<${name}> & Offsets<${name}>;`,
  ];
  return lines.join('\n');
}

function enumSource(type: BtfType): string {
  const values = type.values ?? [];
  const prefix = commonPrefix(values.map((value) => value.name));
  const entries = values.map((value) => `  ${value.name.slice(prefix.length)}: ${value.val},`);
  return [
    `/** \`enum ${type.name}\`. */`,
    `export const ${pascal(type.name)} = {`,
    ...entries,
    '} as const;',
  ].join('\n');
}

function commonPrefix(names: readonly string[]): string {
  let prefix = names[0] ?? '';
  for (const name of names) while (!name.startsWith(prefix)) prefix = prefix.slice(0, -1);
  return prefix.slice(0, prefix.lastIndexOf('_') + 1);
}

/** libbpf writes a map as a struct of pointers: an array's length is the number, a pointer's target is the type. */
function mapSource(btf: Btf, variable: BtfType): string {
  const members = new Map(
    (get(btf, variable.type_id).members ?? []).map((member) => [member.name, member.type_id]),
  );
  const pointed = (member: string): BtfType => get(btf, get(btf, members.get(member)).type_id);
  const number = (member: string): number => (members.has(member) ? (pointed(member).nr_elems ?? 0) : 0);
  const codec = (member: string): string => {
    if (!members.has(member)) return 'noneCodec'; // the key of a queue
    const target = resolve(btf, get(btf, members.get(member)).type_id ?? 0).type;
    return target.kind === 'STRUCT' ? `${pascal(target.name)}Codec` : `u${(target.size ?? 0) * 8}Codec`;
  };
  const line = `key: ${codec('key')}, value: ${codec('value')}, maxEntries: ${number('max_entries')}, type: ${number('type')}`;
  return `  ${camel(variable.name)}: { name: '${variable.name}', ${line} },`;
}

const HEADER = `// Generated from the BTF of tpot.bpf.o by scripts/generate-maps.ts. Do not edit.
// Byte order: host fields are little-endian (x86-64, aarch64), __be fields big-endian, arrays are raw bytes.

export interface Codec<T> {
  readonly size: number;
  read(view: DataView, at?: number): T;
  write(view: DataView, value: T, at?: number): void;
}

/** Where each member stands, for tables that are too large to read whole values. */
type Offsets<T> = { readonly at: Readonly<Record<keyof T, number>> };

const bytesAt = (view: DataView, at: number, length: number): Uint8Array =>
  new Uint8Array(view.buffer, view.byteOffset + at, length).slice();
const putBytes = (view: DataView, at: number, length: number, bytes: Uint8Array): void => {
  if (bytes.length !== length) throw new RangeError(\`expected \${length} bytes, got \${bytes.length}\`);
  new Uint8Array(view.buffer, view.byteOffset + at, length).set(bytes);
};

const u32Codec: Codec<number> = {
  size: 4,
  read: (view, at = 0) => view.getUint32(at, true),
  write: (view, value, at = 0) => view.setUint32(at, value, true),
};
const noneCodec: Codec<undefined> = { size: 0, read: () => undefined, write: () => undefined };
const u64Codec: Codec<bigint> = {
  size: 8,
  read: (view, at = 0) => view.getBigUint64(at, true),
  write: (view, value, at = 0) => view.setBigUint64(at, value, true),
};
`;

/** The whole module: structs and enums named `tpot_*`, then the maps. */
export function generateBindings(btf: Btf): string {
  const types = [...btf.values()];
  // BTF lists types in order of use; by name, a change in code alone does not change the file.
  const byName = (a: BtfType, b: BtfType): number => (a.name < b.name ? -1 : 1);
  const ours = types.filter((type) => type.name.startsWith('tpot_')).sort(byName);
  const structs = ours.filter((type) => type.kind === 'STRUCT').map((type) => structSource(btf, type));
  const enums = ours.filter((type) => type.kind === 'ENUM').map(enumSource);
  const section = types.find((type) => type.kind === 'DATASEC' && type.name === '.maps');
  const variables = (section?.vars ?? []).map((entry) => get(btf, entry.type_id)).sort(byName);
  const maps = [
    'export const maps = {',
    ...variables.map((variable) => mapSource(btf, variable)),
    '} as const;',
  ];
  return `${[HEADER, ...structs, ...enums, maps.join('\n')].join('\n\n')}\n`;
}
