using Microsoft.EntityFrameworkCore.Migrations;

#nullable disable

namespace Rollcall.Storage.Migrations.Postgres
{
    /// <inheritdoc />
    public partial class ListOrders : Migration
    {
        /// <inheritdoc />
        protected override void Up(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.CreateIndex(
                name: "ix_patrons_district_id_community_id",
                table: "patrons",
                columns: new[] { "district_id", "community_id" },
                filter: "community_id is not null");

            migrationBuilder.CreateIndex(
                name: "ix_patrons_district_id_updated_at",
                table: "patrons",
                columns: new[] { "district_id", "updated_at" });
        }

        /// <inheritdoc />
        protected override void Down(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.DropIndex(
                name: "ix_patrons_district_id_community_id",
                table: "patrons");

            migrationBuilder.DropIndex(
                name: "ix_patrons_district_id_updated_at",
                table: "patrons");
        }
    }
}
