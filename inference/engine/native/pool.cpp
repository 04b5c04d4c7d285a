#include "pool.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace pool {
namespace {

// How often a helper looks for the next job before it sleeps, about 0.1 ms: longer than the model's own code takes
// between two kernels, and less than a scheduler's time slice, so that it costs other programs little.
constexpr int kPatience = 4000;
constexpr int kJobs = 4;

void pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

struct Job {
    std::atomic<Work> work{nullptr};
    std::atomic<void*> context{nullptr};
    std::atomic<int64_t> parts{0};
};

class Pool {
  public:
    void run(int64_t parts, int64_t threads, Work work, void* context) {
        std::unique_lock<std::mutex> only(busy_, std::try_to_lock);
        if (!only || parts < 2 || threads < 2) {
            for (int64_t part = 0; part < parts; ++part) work(context, part);
            return;
        }
        while (helpers_ < threads - 1) std::thread([this, index = ++helpers_] { help(index); }).detach();
        const uint64_t number = (next_.load(std::memory_order_relaxed) >> 32) + 1;
        Job& job = jobs_[number % kJobs];
        job.work.store(work, std::memory_order_relaxed);
        job.context.store(context, std::memory_order_relaxed);
        job.parts.store(parts, std::memory_order_relaxed);
        wanted_.store(threads - 1, std::memory_order_relaxed);
        done_.store(0, std::memory_order_relaxed);
        next_.store(number << 32);
        if (sleeping_.load() > 0) {
            const std::lock_guard<std::mutex> lock(sleep_);
            wake_.notify_all();
        }
        take_parts(number);
        for (int looks = 0; done_.load(std::memory_order_acquire) < parts; ++looks) {
            pause();
            if (looks > kPatience) std::this_thread::yield();  // the thread that has begun may need this CPU
        }
    }

  private:
    // Takes parts of job `number` until none is left or another job has come.
    //
    // The job's fields may be stale until a part is taken; then they are the job's, because its caller stays in `run`
    // until all parts are done.
    void take_parts(uint64_t number) {
        const Job& job = jobs_[number % kJobs];
        const Work work = job.work.load(std::memory_order_relaxed);
        void* const context = job.context.load(std::memory_order_relaxed);
        const int64_t parts = job.parts.load(std::memory_order_relaxed);
        uint64_t next = next_.load(std::memory_order_acquire);
        while (next >> 32 == number && static_cast<int64_t>(next & 0xffffffff) < parts) {
            if (!next_.compare_exchange_weak(next, next + 1, std::memory_order_acq_rel)) continue;
            work(context, static_cast<int64_t>(next & 0xffffffff));
            done_.fetch_add(1, std::memory_order_release);
            next = next_.load(std::memory_order_acquire);
        }
    }

    void help(int index) {
        uint64_t seen = 0;
        for (;;) {
            const auto came = [&] { return next_.load() >> 32 != seen; };
            for (int looks = 0; looks < kPatience && !came(); ++looks) pause();
            if (!came()) {
                std::unique_lock<std::mutex> lock(sleep_);
                ++sleeping_;
                wake_.wait(lock, came);
                --sleeping_;
            }
            seen = next_.load(std::memory_order_acquire) >> 32;
            if (index <= wanted_.load(std::memory_order_relaxed)) take_parts(seen);
        }
    }

    std::mutex busy_;
    int helpers_ = 0;
    Job jobs_[kJobs];
    alignas(64) std::atomic<uint64_t> next_{0};  // the job's number, and in the lower 32 bits its next part
    alignas(64) std::atomic<int64_t> done_{0};
    std::atomic<int> wanted_{0};
    std::mutex sleep_;
    std::condition_variable wake_;
    std::atomic<int> sleeping_{0};
};

}  // namespace

void run(int64_t parts, int64_t threads, Work work, void* context) {
    static Pool* const pool = new Pool;  // never destroyed: its threads use it until the process ends
    pool->run(parts, threads, work, context);
}

}  // namespace pool
