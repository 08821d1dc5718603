/* How alike two texts are to a model, in C: embed MODEL TEXT TEXT. */
#include <lathe/lathe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char** argv) {
  lathe_model* model;
  float *first, *second;
  unsigned int size, i;
  double cosine = 0;
  int failed;

  if (argc != 4) {
    fprintf(stderr, "usage: embed MODEL TEXT TEXT\n");
    return 2;
  }
  model = lathe_load(argv[1], NULL);
  if (model == NULL) {
    fprintf(stderr, "%s\n", lathe_last_error());
    return 1;
  }
  size = lathe_embedding_size(model);
  first = malloc(2 * size * sizeof *first);
  failed = first == NULL;
  if (!failed) {
    second = first + size;
    failed = lathe_embed(model, argv[2], strlen(argv[2]), 1, first, size) != 0 ||
             lathe_embed(model, argv[3], strlen(argv[3]), 1, second, size) != 0;
    for (i = 0; !failed && i < size; ++i) cosine += (double)first[i] * second[i]; /* both are of unit length */
  }
  if (failed) {
    fprintf(stderr, "%s\n", first == NULL ? "out of memory" : lathe_last_error());
  } else {
    printf("%.4f\n", cosine);
  }
  free(first);
  lathe_free(model);
  return failed;
}
