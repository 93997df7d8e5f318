/** What every part of the OpenAPI document is made of. */
export const problem = (description: string) => ({
  description,
  content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
});
export const json = (description: string, schema: object) => ({
  description,
  content: { 'application/json': { schema } },
});
