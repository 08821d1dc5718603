// The command line of these scripts: --NAME VALUE for the names of `options`, whose values it replaces, and models.
export function readOptions(options) {
  const models = [];
  for (let args = process.argv.slice(2); args.length > 0; ) {
    const arg = args.shift();
    if (!arg.startsWith("--")) models.push(arg);
    else if (arg.slice(2) in options && args.length > 0) options[arg.slice(2)] = args.shift();
    else throw new Error(`unknown option ${arg}; there are ${Object.keys(options).map((name) => "--" + name).join(" ")}`);
  }
  if (models.length === 0) throw new Error("give a model");
  return models;
}
