import type { AnyQuery } from './query.ts';
import { checkFunction, checkList, checkMap, invalid } from './refuse.ts';
import { checkInput, checkStored, fieldsOf, isScalar } from './schema-rules.ts';
import type { IndexSpec, View } from './view.ts';

/** Checks one view. Throws DEFINITION_INVALID or SCHEMA_NOT_DERIVABLE. */
export function checkView(view: View, place: string): void {
  const fields = fieldsOf(checkStored(view.schema, place));
  if (fields === undefined) {
    throw invalid(
      place,
      'its schema is no object with fields known by name. Use `z.object({ … })` and name each field.',
    );
  }
  for (const name of fields.keys()) {
    if (!/^[_$]|\./.test(name)) continue;
    throw invalid(
      place,
      `field "${name}" begins with "_" or "$" or holds a dot, which belong to the platform. Rename it.`,
    );
  }
  const id = fields.get('id');
  if (id !== undefined && id.type !== 'string') {
    throw invalid(place, 'field "id" is no string. It is the document\'s key: make it a string or rename it.');
  }
  checkList(view.indexes, 'indexes', place);
  const seen = new Set<string>();
  view.indexes.forEach((index, number) => {
    const shape = checkIndex(index, fields, `${place}, indexes[${number}]`);
    if (seen.has(shape)) throw invalid(place, `index ${shape} is declared twice. Remove one.`);
    seen.add(shape);
  });
}

function checkIndex(
  index: IndexSpec,
  fields: ReadonlyMap<string, Readonly<Record<string, unknown>>>,
  place: string,
): string {
  checkMap(index, 'index', place);
  const entries = Object.entries(index);
  if (entries.length === 0) throw invalid(place, 'names no field. Write `{ field: 1 }`.');
  for (const [name, direction] of entries) {
    const field = fields.get(name);
    if (field === undefined) {
      const cure = name.includes('.') ? 'Copy the nested value into a field of its own' : 'Correct the name';
      throw invalid(
        place,
        `field "${name}" is not in the view's schema. ${cure}; there are ${[...fields.keys()].join(', ')}.`,
      );
    }
    if (!isScalar(field)) {
      throw invalid(place, `field "${name}" holds more than one value. Index a string, number or boolean.`);
    }
    if (direction !== 1 && direction !== -1)
      throw invalid(place, `field "${name}" has the direction ${direction}. Use 1 or -1.`);
  }
  return JSON.stringify(index);
}

/** Checks one query. Throws DEFINITION_INVALID or SCHEMA_NOT_DERIVABLE. */
export function checkQuery(query: AnyQuery, place: string): void {
  checkInput(query.input, `${place}, input`);
  checkStored(query.output, `${place}, output`);
  checkFunction(query.run, 'run', place);
}
