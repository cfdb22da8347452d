namespace Rollcall.Sandbox; internal static class Placeholder;
