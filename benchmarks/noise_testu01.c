/* TestU01 (L'Ecuyer and Simard, 2007) on the hash of mogp/inference/sghmc/_noise.py.

     python benchmarks/noise.py --bits keys.bin
     cc -O3 benchmarks/noise_testu01.c -ltestu01 -lprobdist -lmylib -lm -o noise_testu01
     ./noise_testu01 keys.bin MODE NUM small|crush [reversed]

   MODE 0 is the stream of one key; 1 takes NUM numbers of each key, as a sampler does; 2 takes one
   number of each of NUM keys in turn. With `reversed` the last bits come first. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "bbattery.h"
#include "swrite.h"
#include "unif01.h"

static uint32_t *keys, i = 0, num;
static size_t k = 0, num_keys;
static int mode;

static uint32_t hash(uint32_t index, uint32_t first, uint32_t second) {
  uint32_t x = index * 0x9E3779B9u + first;
  x = (x ^ (x >> 16)) * 0x7FEB352Du;
  x = (x ^ (x >> 15)) + second;
  x = (x ^ (x >> 15)) * 0x846CA68Bu;
  return x ^ (x >> 16);
}

static unsigned int next(void) {
  uint32_t x = hash(i, keys[2 * k], keys[2 * k + 1]);
  if (mode == 0) {
    i++;
  } else if (mode == 1) {
    if (++i == num) i = 0, k = (k + 1) % num_keys;
  } else if (++k % num == 0) {
    if (++i < 1u << 21) k -= num;
    else i = 0, k %= num_keys;
  }
  return x;
}

static unsigned int reversed(void) {
  uint32_t x = next(), y = 0;
  for (int bit = 0; bit < 32; bit++) y |= ((x >> bit) & 1u) << (31 - bit);
  return y;
}

int main(int argc, char **argv) {
  FILE *file = argc > 4 ? fopen(argv[1], "rb") : NULL;
  if (!file) return 2;
  fseek(file, 0, SEEK_END);
  num_keys = ftell(file) / 8;
  rewind(file);
  keys = malloc(8 * num_keys);
  if (fread(keys, 8, num_keys, file) != num_keys) return 2;
  mode = atoi(argv[2]);
  num = atoi(argv[3]);
  swrite_Basic = FALSE;
  unif01_Gen *generator = unif01_CreateExternGenBits(argv[2], argc > 5 ? reversed : next);
  if (strcmp(argv[4], "small")) bbattery_Crush(generator);
  else bbattery_SmallCrush(generator);
  return 0;
}
