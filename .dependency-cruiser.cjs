// Who may import whom. ARCHITECTURE.md draws the same table; this file enforces it.
const may = {
  core: [],
  host: ['core'],
  wire: ['core'],
  tpot: ['wire', 'core'],
  splice: ['wire', 'core'],
  transcode: ['core', 'host'],
  cache: ['core'],
  content: ['cache', 'core', 'host'],
  bpf: ['wire', 'core', 'host'],
  'client-shim': ['tpot', 'bpf', 'wire', 'core', 'host'],
  node: ['cache', 'content', 'splice', 'transcode', 'bpf', 'tpot', 'wire', 'core', 'host'],
  doctor: ['node', 'client-shim', 'bpf', 'tpot', 'wire', 'core', 'host'],
  netns: ['core', 'host', 'wire', 'tpot'],
  bench: ['node', 'transcode', 'splice', 'netns', 'bpf', 'tpot', 'wire', 'core', 'host'],
  cli: ['node', 'client-shim', 'doctor', 'netns', 'bench', 'core', 'host'],
};
const folders = Object.keys(may);
const product = `^(${folders.join('|')}|scripts)/`;

module.exports = {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'no-orphans-outside-entry-points',
      severity: 'error',
      from: {
        orphan: true,
        pathNot:
          '(\\.test|\\.props|\\.config)\\.(ts|js|cjs)$|^types/|\\.cjs$|^docs/|^examples/|^test/|\\.d\\.ts$',
      },
      to: {},
    },
    {
      name: 'nothing-imports-tests',
      severity: 'error',
      from: { path: product, pathNot: '\\.(test|props)\\.ts$' },
      to: { path: '^test/|\\.(test|props)\\.ts$' },
    },
    {
      name: 'no-dev-dependencies-in-product',
      severity: 'error',
      from: { path: product, pathNot: '\\.(test|props)\\.ts$' },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'], dependencyTypesNot: ['type-only'] },
    },
    { name: 'not-to-unresolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
    ...folders.map((folder) => ({
      name: `${folder}-direction`,
      severity: 'error',
      comment: `${folder}/ may import only: ${[folder, ...may[folder]].join(', ')}`,
      from: { path: `^${folder}/`, pathNot: '\\.(test|props)\\.ts$' },
      to: { path: product, pathNot: `^(${[folder, ...may[folder]].join('|')})/` },
    })),
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^(dist|node_modules|\\.cache|test/fixtures)/' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'default', 'types'],
    },
  },
};
