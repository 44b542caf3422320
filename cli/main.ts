/** Entry point of `tpot-node` (bin/tpot-node). */
import { runProgram } from './program.js';

/** A reader that has gone (`tpot-node conns | head`) is no error, and must not end a node. */
function ignoreClosedPipe(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE') throw error;
}

process.stdout.on('error', ignoreClosedPipe);
process.stderr.on('error', ignoreClosedPipe);
process.exitCode = await runProgram(process.argv.slice(2));
