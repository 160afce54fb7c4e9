// libcurand: generators can be made, as programs do at their start; they give no numbers.

#define API extern "C" __attribute__((visibility("default")))

API int curandCreateGenerator(void** generator, int) {
    *generator = new char;
    return 0;
}

API int curandDestroyGenerator(void* generator) {
    delete (char*)generator;
    return 0;
}

API int curandSetStream(void*, void*) { return 0; }
API int curandSetPseudoRandomGeneratorSeed(void*, unsigned long long) { return 0; }
API int curandSetGeneratorOffset(void*, unsigned long long) { return 0; }
