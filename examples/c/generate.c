/* Continues a prompt with a model, in C: generate MODEL [PROMPT]. */
#include <lathe/lathe.h>
#include <stdio.h>
#include <string.h>

static int print_piece(const char* piece, size_t bytes, void* user) {
  (void)user;
  fwrite(piece, 1, bytes, stdout);
  return fflush(stdout); /* not 0 (an error) stops the generation */
}

int main(int argc, char** argv) {
  const char* prompt = argc > 2 ? argv[2] : "Once upon a time";
  lathe_generate_options options;
  lathe_generate_result result;
  lathe_model* model;
  int status;

  if (argc < 2) {
    fprintf(stderr, "usage: generate MODEL [PROMPT]\n");
    return 2;
  }
  model = lathe_load(argv[1], NULL);
  if (model == NULL) {
    fprintf(stderr, "%s\n", lathe_last_error());
    return 1;
  }
  lathe_generate_options_init(&options);
  options.max_tokens = 64;
  options.temperature = 0;
  printf("%s", prompt);
  status = lathe_generate(model, prompt, strlen(prompt), &options, print_piece, NULL, &result);
  if (status == 0) {
    printf("\n");
    fprintf(stderr, "%u tokens\n", result.generated_tokens);
  } else {
    fprintf(stderr, "%s\n", lathe_last_error());
  }
  lathe_free(model);
  return status == 0 ? 0 : 1;
}
