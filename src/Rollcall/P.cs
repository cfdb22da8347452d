namespace Rollcall; internal static class Placeholder;
