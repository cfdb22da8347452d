namespace Rollcall.Bench;

/// <summary>Stands in for the test framework's interface, so that tests and bench start PostgreSQL by the same file.</summary>
public interface IAsyncLifetime : IAsyncDisposable
{
    ValueTask InitializeAsync();
}
